"""Restart without dropping a call: one process hands everything over to another one (`hand_over`, `take_over`)."""
