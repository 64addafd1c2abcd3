"""poptrio_ldap: a plugin of poptrio."""
