//! The wire formats, pure: bytes in, messages out. Specified in `docs/protocol.md`.
