//! Inspect: what an operator asks of the queue. wip
