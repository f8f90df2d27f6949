//! The HTTP API: REST, server-sent events, and the bare push address /d/{device}.
