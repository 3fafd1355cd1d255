"""The fault lab: the real function, a real Redis and the simulator, hours of virtual time."""
