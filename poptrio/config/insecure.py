"""What the settings that weaken PPTP further mean, in sentences for an operator."""

from poptrio.config.sections import Authentication, Ppp

_PROTOCOLS = {
    "mschap-v1": (
        'authentication = "mschap-v1": the server does not prove itself to the client, and both directions of a call '
        "are encrypted with the same RC4 key. Allow it only for clients that have nothing else."
    ),
    "chap-md5": (
        'authentication = "chap-md5": it yields no keys, so such calls are never encrypted; a captured response is '
        "searched offline at the speed of MD5, and the server must keep passwords in clear."
    ),
    "pap": (
        'authentication = "pap": passwords cross the network in clear, and such calls are never encrypted. Allow it '
        "only inside another tunnel."
    ),
}
_BITS = {
    56: "encryption_bits = 56: a key of 56 bits can be found by trying them all, which stops nobody in earnest.",
    40: "encryption_bits = 40: a key of 40 bits is found by trying them all, within hours on one machine.",
}
_ENCRYPTION = {
    "prefer": (
        'encryption = "prefer": whoever can change packets on the way can make a call go on without encryption, and '
        "neither side says so. MPPE protects only where it is required."
    ),
    "refuse": 'encryption = "refuse": everything in the tunnel crosses the network in clear.',
}
_FALL_THROUGH = {
    "refused": (
        'fall_through = "refused": who is refused by one plugin, for a wrong password or a disabled account, may come '
        "in by another that has the same name; each password that any of them takes is good, and each is guessed at."
    ),
    "unavailable": (
        'fall_through = "unavailable": who can silence one plugin\'s backend decides that the next one is asked; an '
        "account that is disabled or has a new password there may still come in by the next."
    ),
}


def insecure_settings(ppp: Ppp, authentication: Authentication) -> tuple[str, ...]:
    """A sentence for each setting that is weaker than MS-CHAPv2 with MPPE-128 required, decided by one plugin."""
    sentences = [_PROTOCOLS.get(protocol) for protocol in ppp.authentication]
    sentences.append(_ENCRYPTION.get(ppp.encryption))
    if ppp.encryption != "refuse":
        sentences += [_BITS.get(bits) for bits in ppp.encryption_bits]
    sentences += [_FALL_THROUGH.get(outcome) for outcome in authentication.fall_through]
    return tuple(sentence for sentence in sentences if sentence is not None)
