"""The device engine's room (engines): ``engine`` has the verbs, the others launch the kernels of one verb each."""
