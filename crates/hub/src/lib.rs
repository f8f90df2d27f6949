//! Sessions, subscriptions, retained messages, queues and routing; has never heard of MQTT.
