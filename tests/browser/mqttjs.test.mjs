// MQTT.js, the client of Node programs and of browsers: over TCP and over WebSocket, in 3.1.1 and in 5.0, at every
// QoS; with properties where the level has them.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import mqtt from 'mqtt';
import { house } from './house.mjs';

let server;
before(async () => {
	server = await house();
});
after(() => server.stop());

for (const [transport, address] of [
	['TCP', () => `mqtt://${server.mqtt}`],
	['WebSocket', () => `${server.url.replace('http', 'ws')}/mqtt`]
]) {
	for (const protocolVersion of [4, 5]) {
		test(`MQTT.js over ${transport}, level ${protocolVersion}`, async () => {
			const who = { username: 'token', password: server.token, protocolVersion, reconnectPeriod: 0 };
			const client = await mqtt.connectAsync(address(), who);
			const topic = `mqttjs/${transport}/${protocolVersion}`;
			await client.subscribeAsync(`${topic}/+`, { qos: 2 });
			for (const qos of [0, 1, 2]) {
				const properties = { responseTopic: 'answers', correlationData: Buffer.from([qos]), userProperties: { unit: 'm' } };
				const arrived = once(client, 'message');
				await client.publishAsync(`${topic}/${qos}`, `hello ${qos}`, protocolVersion === 5 ? { qos, properties } : { qos });
				const [name, payload, packet] = await arrived;
				assert.deepEqual([name, payload.toString(), packet.qos], [`${topic}/${qos}`, `hello ${qos}`, qos]);
				if (protocolVersion === 5) {
					assert.equal(packet.properties.responseTopic, 'answers');
					assert.deepEqual([...packet.properties.correlationData], [qos]);
					assert.deepEqual({ ...packet.properties.userProperties }, { unit: 'm' });
				}
			}
			await client.endAsync();
		});
	}
	test(`MQTT.js over ${transport} is told that its password is wrong`, async () => {
		const who = { username: 'token', password: 'wrong', protocolVersion: 5, reconnectPeriod: 0 };
		await assert.rejects(mqtt.connectAsync(address(), who), (error) => error.code === 0x86);
	});
}
