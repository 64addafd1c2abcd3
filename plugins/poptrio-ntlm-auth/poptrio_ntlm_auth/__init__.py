"""poptrio_ntlm_auth: a plugin of poptrio."""
