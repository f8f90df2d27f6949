//! The client of espush: push to devices and see what became of it, read what they measured, watch what
//! happens. It blocks, and brings no runtime; `README.md` has an example of everything.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use espush_client::{Client, Order};
//!
//! let espush = Client::new("http://localhost:8080", "token");
//! let push = espush.push(Order::to("lamp").text("on").wait(Duration::from_secs(10)))?;
//! println!("{}", push.deliveries[0].state);
//! # Ok::<(), espush_client::Error>(())
//! ```

mod client;
mod error;
mod events;
mod fleet;
mod models;
mod order;
mod pages;
mod sse;
#[cfg(feature = "webhooks")]
mod webhook;

pub use client::Client;
pub use error::{Error, Problem};
pub use events::Events;
pub use models::{Content, Delivery, Device, Event, Page, Point, Preview, PreviewCounts, PreviewItem, PreviewReason, Push, Sent};
pub use models::{Twin, TwinChange, TwinPart};
pub use order::{Audience, AuditFilter, DeviceFilter, Message, Order, PointFilter, PreviewFilter, Resend};
pub use pages::Pages;
pub use serde_json::{Value, json};
#[cfg(feature = "webhooks")]
pub use webhook::{WebhookError, WebhookHeaders, verify_webhook, verify_webhook_at};
