//! The library against real servers. Run with `bin/test`, which starts them.

mod journey;
