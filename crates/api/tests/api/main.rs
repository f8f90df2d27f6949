//! The API with the real rooms and the real store behind it, called without a socket. The line is a fake
//! that plays the device.

mod access;
mod accounts;
mod addresses;
mod apps;
mod audience;
mod audit;
mod bulk;
mod described;
mod devices;
mod direct;
mod events;
mod house;
mod misc;
mod points;
mod push;
mod qr;
mod schedules;
mod tokens;
mod twin;
mod webhooks;
