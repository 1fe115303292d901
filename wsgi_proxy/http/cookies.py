"""The attributes of a Set-Cookie field (RFC 6265, section 4.1), changed as `proxy_cookie_flags` says.

Rules:
- A cookie is the list of its parts between semicolons: `name=value`, then the attributes with their blanks.
"""

_SAME_SITE = ("strict", "lax", "none")


def with_flags(parts: list[str], flags: set[str]) -> list[str]:
    """Return the parts with attributes added (`secure`, `samesite=lax`) or removed (`nosecure`).

    An attribute that is there stays in its place, and a flag that is none of nginx's changes nothing
    (ngx_http_proxy_edit_cookie_flags).
    """
    kept = parts[:1]
    for part in parts[1:]:
        name, _, value = part.partition("=")
        lower = name.strip().lower()
        if lower in ("secure", "httponly"):
            if lower in flags:
                flags.remove(lower)
            elif f"no{lower}" in flags:
                continue
        elif lower == "samesite":
            wanted = next((kind for kind in _SAME_SITE if f"samesite={kind}" in flags), None)
            if wanted is not None:
                flags.remove(f"samesite={wanted}")
                if value.strip().lower() != wanted:
                    part = f" SameSite={wanted.title()}"
            elif "nosamesite" in flags:
                continue
        kept.append(part)
    kept += [f" {shown}" for flag, shown in (("secure", "Secure"), ("httponly", "HttpOnly")) if flag in flags]
    kept += [f" SameSite={kind.title()}" for kind in _SAME_SITE if f"samesite={kind}" in flags][:1]
    return kept
