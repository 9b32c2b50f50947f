//! This machine's hardware as one more route: the engine, its worker process and its supervisor.
