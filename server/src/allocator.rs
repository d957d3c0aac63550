//! Allocator: a connection comes with some hundred small allocations, for which glibc asks the system again and again
//! (docs/decisions/0043-an-allocator-for-the-server.md).

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
