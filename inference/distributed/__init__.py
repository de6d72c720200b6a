"""One batch shared by several processes, with the gradients of one."""
