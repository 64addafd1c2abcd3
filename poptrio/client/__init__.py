"""The client's side of PPTP: the same cores in the other role."""
