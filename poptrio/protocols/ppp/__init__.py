"""PPP without I/O: framing, the option negotiation automaton, the control protocols and the session over them."""
