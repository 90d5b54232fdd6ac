"""First guesses about columns (jobs, called by init): which one plays which role, by its name and by what it holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_NAMES = {
    "customer": "customer cust client cliente kunde kunden klant household haushalt hogar foyer member mitglied user "
    "buyer shopper acheteur account visitor panelist",
    "amount": "amount amt total betrag umsatz revenue sales spend spent paid summe montant importe importo valor "
    "bedrag turnover gesamt gesamtpreis linetotal payment value ttc netto brutto price preis prix precio prezzo preco "
    "prijs unitprice",
    "basket": "basket receipt bon kassenbon beleg invoice rechnung order bestellung bestellnr ticket transaction "
    "bestellnummer facture factura "
    "scontrino pedido commande visit trip einkauf invoiceno",
    "quantity": "quantity qty menge anzahl stueck stuck quantite cantidad quantita quantidade aantal units pieces",
    "product": "product produkt artikel article item sku stockcode producto prodotto produit produto ean upc gtin",
    "category": "category department dept kategorie warengruppe abteilung rayon categorie categoria commodity mcc "
    "sortiment productgroup afdeling",
    "discount": "discount disc rabatt remise descuento desconto sconto korting nachlass",
    "coupon": "coupon gutschein voucher cupon bono",
    "own_label": "ownlabel ownbrand privatelabel eigenmarke brand mdd",
    "currency": "currency wahrung waehrung devise moneda moeda valuta curr",
    "consent": "consent einwilligung optin consentement consentimiento consenso zustimmung",
}
"""Words that columns are called by, folded; the earlier of two roles in the order below takes a column."""

_ORDER = (
    "currency",
    "consent",
    "discount",
    "coupon",
    "quantity",
    "amount",
    "customer",
    "basket",
    "product",
    "category",
)
_SIGNS = {"eur": "€", "euro": "€", "usd": "$", "dollar": "$", "gbp": "£", "chf": "CHF\N{NO-BREAK SPACE}"}
_OTHERS = frozenset(
    [
        "name",
        "email",
        "mail",
        "country",
        "land",
        "type",
        "typ",
        "status",
        "segment",
        "age",
        "alter",
        "tax",
        "steuer",
        "vat",
        "phone",
        "since",
    ]
)
_UNIT_PRICE = frozenset(["price", "preis", "prix", "precio", "prezzo", "preco", "prijs", "unitprice"])
_KINDS = {
    "customer": {"whole", "text"},
    "amount": {"whole", "number"},
    "basket": {"whole", "text"},
    "quantity": {"whole", "number"},
    "product": {"whole", "text"},
    "category": {"whole", "text"},
    "discount": {"whole", "number"},
    "coupon": {"whole", "number"},
    "own_label": {"flag"},
    "currency": {"text"},
    "consent": {"flag", "whole", "text"},
}


@dataclass(frozen=True)
class Column:
    """What is known of a column.

    Parameters
    ----------
    name : str
        As the file has it.
    kind : str
        "time", "whole", "number", "flag" or "text".
    example : str, default ""
        One of its values, as the file has it.
    """

    name: str
    kind: str
    example: str = ""


def guess_roles(
    columns: Sequence[Column], stated: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Role to column, and a comment by role.

    Parameters
    ----------
    columns : sequence of Column
        In the order of the file.
    stated : mapping of str to str
        Roles that the user named.

    Returns
    -------
    roles : dict of str to str
        Also ``consent``, where a column looks like it.
    notes : dict of str to str
        What to look at.
    """
    roles = dict(stated)
    notes: dict[str, str] = {}
    times = [column for column in columns if column.kind == "time" and column.name not in roles.values()]
    if "time" not in roles and times:
        roles["time"] = times[0].name
        if len(times) > 1:
            others = ", ".join(column.name for column in times[1:4])
            notes["time"] = f"the first column with times; others: {others}"
    for role in (*_ORDER, "own_label"):
        if role not in roles:
            found = _best(role, [column for column in columns if column.name not in roles.values()])
            if found is not None:
                roles[role] = found
    amount = roles.get("amount")
    if (
        amount is not None
        and "amount" not in stated
        and set(_words(amount)) & _UNIT_PRICE
        and "quantity" in roles
    ):
        notes["amount_of"] = (
            "NOT CERTAIN: the column's name says price; line, if it is the money of the whole line"
        )
    return roles, notes


def currency_sign(column: str) -> str:
    """The sign before an amount that the name of its column tells: "Betrag (€)", "amount_usd"; else empty."""
    named = [sign for sign in _SIGNS.values() if len(sign) == 1 and sign in column]
    coded = [_SIGNS[word] for word in _words(column) if word in _SIGNS]
    found = {*named, *coded}
    return found.pop() if len(found) == 1 else ""


def _best(role: str, columns: Sequence[Column]) -> str | None:
    scored = [(_score(role, column), column.name) for column in columns if column.kind in _KINDS[role]]
    best = max(scored, key=lambda item: item[0], default=(0.0, ""))
    return best[1] if best[0] > 0 else None


def _score(role: str, column: Column) -> float:
    """How far a name speaks for a role; 0: not at all. Earlier words of the role's list speak louder."""
    words = _words(column.name)
    known = _NAMES[role].split()
    joined = "".join(words)
    score = 0.0
    for rank, word in enumerate(known):
        if word in words or joined in {word, word + "id", word + "nr", word + "no"}:
            score = max(score, 2.0 - rank / len(known))
        elif len(word) >= 5 and (joined.startswith(word) or joined.endswith(word)):
            score = max(score, 1.0 - rank / (2 * len(known)))
    if score and role in {"customer", "product", "basket"}:
        score += 0.5 if {"id", "no", "nr", "number", "nummer", "key", "code"} & set(words) else 0.0
    return 0.0 if _OTHERS & set(words) and role in {"customer", "amount", "basket"} else score


def _words(name: str) -> list[str]:
    """Words of a name, folded: InvoiceDate, invoice_date and "Invoice date" are the same."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    plain = unicodedata.normalize("NFKD", parted.casefold())
    letters = "".join(mark for mark in plain if not unicodedata.combining(mark))
    return re.findall(r"[a-z0-9]+", letters)
