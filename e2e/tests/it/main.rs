//! The whole of Rhubarb: real server and worker processes on a real Redis and Postgres, clients on real
//! sockets, a real browser. Each test has a namespace and a schema of its own, so they run side by side.

mod harness;

mod journey;
