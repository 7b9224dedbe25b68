"""The hands: the only room that touches the machine. Floor 2: knows the model, decides nothing.

Everything here blocks for as long as the kernel takes, works in the namespaces of the calling thread, and
raises KernelError with the operation and the kernel's own reason.
"""
