//! Virtual ESP8266s: LED, button, drifting ADC, over MQTT or ES-PUSH classic.
