//! The list of transports: `scheme:path[:image]`, or a bare path that is recognised.
