//! The binaries of the worker, as a person or a script calls them. Run with `bin/test`, which starts
//! the servers.

mod queuectl;
