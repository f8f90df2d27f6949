//! Apps, devices, secrets, tokens and presence.
