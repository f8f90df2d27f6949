//! Pushes and the truthful life of each delivery.
