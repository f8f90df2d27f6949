// Ready-to-paste code for a new device, secrets filled in. Each piece switches an LED by `me/push` and
// `me/ask/<id>`, answers, and reports what it did: enough to see every part of the console move.
import { atAddress, type Address } from './address';
import { literal, shell } from './quote';

export interface Board {
	id: string;
	secret: string;
	app: number;
	/** The app's key; missing for those who may not see it. */
	key?: string;
}

export type Kind = 'micropython' | 'arduino' | 'mosquitto' | 'curl' | 'lines' | 'at';

export const KINDS: Kind[] = ['micropython', 'arduino', 'mosquitto', 'curl', 'lines', 'at'];

/** The listener that a piece of code needs. */
export const LISTENER: Record<Kind, string> = {
	micropython: 'mqtt',
	arduino: 'mqtt',
	mosquitto: 'mqtt',
	curl: 'http',
	lines: 'lines',
	at: 'espush'
};

/** The few words that stand in comments and placeholders, in the reader's language. */
export interface Words {
	wifi: string;
	password: string;
	led: string;
	answer: string;
	alive: string;
	listen: string;
	send: string;
	type: string;
	address: string;
	save: string;
}

export function snippet(kind: Kind, board: Board, at: Address, words: Words): string {
	return WRITERS[kind](board, at, words);
}

const WRITERS: Record<Kind, (board: Board, at: Address, words: Words) => string> = { micropython, arduino, mosquitto, curl, lines, at };

function micropython({ id, secret }: Board, { host, ports }: Address, w: Words): string {
	return `import network, time, json
from machine import Pin
from umqtt.simple import MQTTClient

wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect(${literal(w.wifi)}, ${literal(w.password)})
while not wlan.isconnected():
    time.sleep_ms(200)

led = Pin(2, Pin.OUT, value=1)  # ${w.led}

def on_message(topic, payload):
    if payload in (b"on", b"off", b"toggle"):
        led.value({b"on": 0, b"off": 1}.get(payload, 1 - led.value()))
        answer = b"on" if led.value() == 0 else b"off"
    else:
        answer = b"on, off, toggle?"
    if topic.startswith(b"me/ask/"):  # ${w.answer}
        client.publish(b"me/answer/" + topic[7:], answer)
    client.publish(b"me/data", json.dumps({"led": led.value() == 0}))

client = MQTTClient(${literal(id)}, ${literal(host)}, port=${ports.mqtt ?? 1883}, user=${literal(id)},
                    password=${literal(secret)}, keepalive=60)
client.set_callback(on_message)
client.connect()
client.subscribe(b"me/push", 1)
client.subscribe(b"me/ask/+", 1)
client.publish(b"me/data", json.dumps({"led": False}))

last = time.time()
while True:
    client.check_msg()
    if time.time() - last > 30:  # ${w.alive}
        client.ping()
        last = time.time()
    time.sleep_ms(50)
`;
}

function arduino({ id, secret }: Board, { host, ports }: Address, w: Words): string {
	return `#include <ESP8266WiFi.h>
#include <PubSubClient.h>

WiFiClient wifi;
PubSubClient client(wifi);

void onMessage(char* topic, byte* payload, unsigned int length) {
  String text;
  for (unsigned int i = 0; i < length; i++) text += (char)payload[i];
  if (text == "on") digitalWrite(LED_BUILTIN, LOW);  // ${w.led}
  else if (text == "off") digitalWrite(LED_BUILTIN, HIGH);
  else if (text == "toggle") digitalWrite(LED_BUILTIN, !digitalRead(LED_BUILTIN));
  bool lit = digitalRead(LED_BUILTIN) == LOW;
  String name(topic);
  if (name.startsWith("me/ask/"))  // ${w.answer}
    client.publish(("me/answer/" + name.substring(7)).c_str(), lit ? "on" : "off");
  client.publish("me/data", lit ? "{\\"led\\":true}" : "{\\"led\\":false}");
}

void setup() {
  pinMode(LED_BUILTIN, OUTPUT);
  digitalWrite(LED_BUILTIN, HIGH);
  WiFi.begin(${literal(w.wifi)}, ${literal(w.password)});
  while (WiFi.status() != WL_CONNECTED) delay(200);
  client.setServer(${literal(host)}, ${ports.mqtt ?? 1883});
  client.setCallback(onMessage);
}

void loop() {
  if (!client.connected()) {
    if (!client.connect(${literal(id)}, ${literal(id)}, ${literal(secret)})) { delay(2000); return; }
    client.subscribe("me/push", 1);
    client.subscribe("me/ask/+", 1);
    client.publish("me/data", "{\\"led\\":false}");
  }
  client.loop();
}
`;
}

function mosquitto({ id, secret }: Board, { host, ports }: Address, w: Words): string {
	const login = `-h ${shell(host)} -p ${ports.mqtt ?? 1883} -u ${shell(id)} -P ${shell(secret)}`;
	return `# ${w.listen}
mosquitto_sub ${login} \\
  -q 1 -v -t me/push -t 'me/ask/+'

# ${w.send}
mosquitto_pub ${login} \\
  -q 1 -t me/data -m '{"temperature": 21.5, "led": false}'
`;
}

function curl({ id, secret }: Board, { origin }: Address, w: Words): string {
	return `# ${w.send}
curl -H ${shell(`Authorization: Bearer ${secret}`)} -H 'Content-Type: application/json' \\
  -d '{"temperature": 21.5, "led": false}' \\
  ${shell(`${origin}/api/v1/devices/${id}/points`)}
`;
}

function lines({ id, secret }: Board, { host, ports }: Address, w: Words): string {
	return `nc ${host} ${ports.lines ?? 8266}

# ${w.type}
hello ${id} ${secret}
`;
}

function at({ app, key }: Board, { host }: Address, w: Words): string {
	const number = atAddress(host);
	const address = number === null ? '' : `# ${w.address}\nAT+ESPUSH_TEST=${number}\n\n`;
	return `${address}# ${w.save}
AT+PUSH_DEF=${app},${key ?? 'APP-KEY'}

AT+PUSH?
AT+PUSHMSG=temperature,2150
`;
}
