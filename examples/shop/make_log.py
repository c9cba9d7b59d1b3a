"""Makes the log of a shop that does not exist: purchases.csv, products.csv, customers.csv.

    python examples/shop/make_log.py [folder]

What it has of a real one: customers with favourite kinds of goods, staples bought again and again,
seasons, products that come during the log, a few that everybody buys and many that hardly anybody does.
The same seed gives the same files, byte for byte, with every version of Python: only `random()` is used.
"""

import csv
import random
import sys
from datetime import datetime, timedelta
from pathlib import Path

SEED = 7
CUSTOMERS, PRODUCTS, PURCHASES = 2_000, 500, 31_300
FIRST_DAY, DAYS = datetime(2023, 1, 1), 540

# Kind of goods: words for titles, euros, the month of its season (0: none).
KINDS = {
    "Coffee & Tea": ("Espresso Beans,Filter Coffee,Green Tea,Earl Grey,Herbal Infusion", 6.0, 12),
    "Breakfast": ("Oat Flakes,Crunchy Muesli,Forest Honey,Strawberry Jam,Hazelnut Spread", 4.0, 0),
    "Bakery": ("Rye Bread,Butter Croissant,Spelt Rolls,Apple Pie,Sourdough Loaf", 3.0, 0),
    "Dairy": ("Whole Milk,Greek Yoghurt,Mountain Cheese,Salted Butter,Oat Drink", 2.5, 0),
    "Fruit & Vegetables": ("Apples,Carrots,Baby Spinach,Strawberries,Pumpkin", 3.0, 7),
    "Pasta & Sauces": ("Spaghetti,Penne,Basil Pesto,Tomato Sauce,Gnocchi", 3.0, 0),
    "Snacks": ("Sea Salt Crisps,Trail Mix,Dark Chocolate,Oat Cookies,Rice Crackers", 2.5, 0),
    "Drinks": ("Sparkling Water,Apple Juice,Ginger Lemonade,Iced Tea,Cola", 2.0, 7),
    "Wine & Beer": ("Riesling,Merlot,Pale Ale,Wheat Beer,Sparkling Rose", 9.0, 12),
    "Household": ("Dish Soap,Laundry Powder,Kitchen Towels,Bin Bags,Descaler", 5.0, 0),
    "Baby": ("Nappies,Baby Porridge,Wet Wipes,Fruit Puree,Bath Oil", 8.0, 0),
    "Pets": ("Cat Food,Dog Treats,Cat Litter,Bird Seed,Chew Bones", 7.0, 0),
}
BRANDS = [
    "Alder",
    "Bergdorf",
    "Casa Verde",
    "Dunes",
    "Eastlight",
    "Fjell",
    "Grove",
    "Halden",
    "Isola",
    "Juniper",
]
STYLES = ["Classic", "Mild", "Strong", "Fine", "Rustic", "Light", "Family", "Mini", "Extra", "Pure"]
TAGS = ["organic", "vegan", "fair trade", "sugar free", "local", "refill"]
CITIES = ["Arden", "Brook", "Cliffe", "Dale", "Elm", "Ford", "Glen", "Holt"]
# Lines of baskets; of two that are the same product one is left.
# Share of purchases that are a customer's staples, that follow a favourite kind, and the rest.
STAPLES, FAVOURITES = 0.3, 0.55


class Shop:
    """Products and customers with what nobody writes down about them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random
        self.products = [self.product(number) for number in range(PRODUCTS)]
        self.by_kind = {kind: [p for p in self.products if p["kind"] == kind] for kind in KINDS}
        self.customers = [self.customer(number) for number in range(CUSTOMERS)]

    def pick(self, things: list, weights: list[float] | None = None):
        """One of several, the heavier the likelier."""
        if weights is None:
            return things[int(self.random() * len(things))]
        left = self.random() * sum(weights)
        for thing, weight in zip(things, weights, strict=True):
            left -= weight
            if left < 0:
                return thing
        return things[-1]

    def product(self, number: int) -> dict:
        kind = self.pick(list(KINDS))
        nouns, price, season = KINDS[kind]
        noun, brand, style = self.pick(nouns.split(",")), self.pick(BRANDS), self.pick(STYLES)
        is_new = self.random() < 0.15
        return {
            "sku": f"SKU{1000 + number * 7}",
            "title": f"{brand} {style} {noun} {self.pick([250, 500, 750, 1000])} g",
            "kind": kind,
            "brand": brand,
            "tags": "|".join(tag for tag in TAGS if self.random() < 0.2),
            "price": round(price * (0.5 + self.random()), 2),
            "launched": int(self.random() * DAYS * 0.8) if is_new else 0,
            "season": season if self.random() < 0.6 else 0,
            # Few are bought by everybody: weights fall like 1 / rank.
            "appeal": 1 / (1 + self.random() * PRODUCTS / 12),
        }

    def customer(self, number: int) -> dict:
        age = 18 + int(60 * self.random() * self.random() + 8 * self.random())
        weights = [1.0] * len(KINDS)
        weights[list(KINDS).index("Baby")] = 4.0 if 25 < age < 40 else 0.2
        weights[list(KINDS).index("Wine & Beer")] = 0.5 + age / 40
        kinds = [self.pick(list(KINDS), weights) for _ in range(3)]
        staples = [self.one_of(self.pick(kinds), 0) for _ in range(4)]
        return {
            "customer_id": f"C{number:04}",
            "age": age,
            "city": self.pick(CITIES),
            "newsletter": self.pick(["yes", "no"]),
            "kinds": kinds,
            "staples": [product for product in staples if product],
            "joined": int(DAYS * 0.6 * self.random()) if self.random() < 0.4 else 0,
            "activity": 0.05 + self.random() ** 4,
        }

    def one_of(self, kind: str, day: int) -> dict | None:
        """A product of a kind that is there on that day, the more appealing and in season the likelier."""
        there = [product for product in self.by_kind[kind] if product["launched"] <= day]
        if not there:
            return None
        month = (FIRST_DAY + timedelta(days=day)).month
        seasonal = [3.0 if p["season"] == month else 0.4 if p["season"] else 1.0 for p in there]
        return self.pick(there, [p["appeal"] * s for p, s in zip(there, seasonal, strict=True)])

    def purchases(self) -> list[dict]:
        """Purchases in the order of time, several at once as people shop."""
        total = sum(customer["activity"] for customer in self.customers)
        made = []
        for customer in self.customers:
            left = max(1, round(PURCHASES * customer["activity"] / total))
            while left:
                day = customer["joined"] + int((DAYS - customer["joined"]) * self.random())
                at = FIRST_DAY + timedelta(days=day, minutes=int(480 + 720 * self.random()))
                channel = self.pick(["shop", "shop", "web"])
                size = min(left, 1 + int(4 * self.random()))
                chosen = [self.choice(customer, day) for _ in range(size)]
                basket = {product["sku"]: product for product in chosen if product}
                made += [self.purchase(customer, one, at, channel) for one in basket.values()]
                left -= size
        return sorted(made, key=lambda purchase: purchase["bought_at"])

    def choice(self, customer: dict, day: int) -> dict | None:
        chance = self.random()
        if chance < STAPLES and customer["staples"]:
            return self.pick(customer["staples"])
        if chance < STAPLES + FAVOURITES:
            return self.one_of(self.pick(customer["kinds"]), day)
        return self.one_of(self.pick(list(KINDS)), day)

    def purchase(self, customer: dict, product: dict, at: datetime, channel: str) -> dict:
        quantity = 1 + int(3 * self.random() ** 3)
        return {
            "customer_id": customer["customer_id"],
            "sku": product["sku"],
            "bought_at": at.strftime("%Y-%m-%d %H:%M"),
            "quantity": quantity,
            "paid": round(quantity * product["price"], 2),
            "channel": channel,
        }


def write(file: Path, rows: list[dict], columns: list[str]) -> None:
    """A table as CSV, with the line ends of Unix everywhere."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(folder: Path) -> None:
    """Writes the three files."""
    shop = Shop(SEED)
    purchases = shop.purchases()
    write(folder / "purchases.csv", purchases, list(purchases[0]))
    write(folder / "products.csv", shop.products, ["sku", "title", "kind", "brand", "tags", "price"])
    write(folder / "customers.csv", shop.customers, ["customer_id", "age", "city", "newsletter"])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
