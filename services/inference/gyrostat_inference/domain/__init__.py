"""What inference knows: plans, routes, what may be kept of an input, entries of the spool, frames cut from them."""
