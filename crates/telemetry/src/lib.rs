//! Uploads become points; a ring of recent messages per device.
