"""Writes the change events of an invented shop, the same to the byte each time: python3 testdata/cdc.py

cdc_orders.ndjson     as Debezium's Postgres connector writes them, without schemas, REPLICA IDENTITY FULL
cdc_customers.ndjson  as its MySQL connector writes them, with schemas
cdc_prices.csv        a changelog with weights
"""
import base64, json, os, random

here = os.path.dirname(os.path.abspath(__file__))
r = random.Random(7)
START = 1_772_352_000  # 2026-03-01 08:00 UTC


def out(name, lines):
    with open(os.path.join(here, name), "w", newline="\n") as f:
        f.writelines(l + "\n" for l in lines)


def dump(v):
    return json.dumps(v, separators=(",", ":"), ensure_ascii=False)


def decimal(cents):
    n = (cents.bit_length() + 8) // 8
    return base64.b64encode(cents.to_bytes(n, "big", signed=True)).decode()


def days(seconds):
    return seconds // 86400


# Orders: inserts, updates of amounts and states, updates that move the key, deletes, deletes that come back.
def orders():
    lines, rows, lsn, next_id = [], {}, 24_023_128, 1
    def event(op, before, after, at):
        nonlocal lsn
        lsn += r.randint(40, 400)
        source = {"version": "3.0.8.Final", "connector": "postgresql", "name": "shop", "ts_ms": at * 1000, "snapshot": "true" if op == "r" else "false",
                  "db": "shop", "sequence": '[null,"%d"]' % lsn, "schema": "public", "table": "orders", "txId": 700 + lsn // 1000, "lsn": lsn, "xmin": None}
        lines.append(dump({"before": before, "after": after, "source": source, "transaction": None, "op": op, "ts_ms": at * 1000 + r.randint(5, 900)}))
    def fresh(at):
        nonlocal next_id
        row = {"id": next_id, "customer_id": r.randint(1, 40) if r.random() > .04 else None, "product": r.choice(["desk", "lamp", "chair", "shelf", "rug"]),
               "qty": r.randint(1, 9), "discount": decimal(r.choice([0, 0, 0, 150, 1299, -100])), "status": "new", "placed_at": at * 1_000_000 + r.randint(0, 999_999),
               "due": days(at) + r.randint(1, 14), "note": r.choice([None, None, "", "leave at the door", "é, \"quoted\""])}
        next_id += 1
        return row
    at = START
    for i in range(1500):
        at += r.randint(0, 40)
        kind = r.random()
        if i < 60 or kind < .45 or not rows:
            row = fresh(at)
            rows[row["id"]] = row
            event("r" if i < 60 else "c", None, row, at)
            continue
        old = rows[r.choice(list(rows))]
        if kind < .80:
            new = dict(old, status={"new": "paid", "paid": "sent", "sent": "done", "done": "done"}[old["status"]], qty=r.choice([old["qty"], r.randint(1, 9)]))
        elif kind < .86:
            new = dict(old, customer_id=r.randint(1, 40), note=None)
        elif kind < .90:
            new = dict(old, id=next_id)
            next_id += 1
        else:
            del rows[old["id"]]
            event("d", old, None, at)
            if r.random() < .3:
                lines.append("null")
            if r.random() < .3:
                rows[old["id"]] = old
                event("c", None, old, at)
            continue
        del rows[old["id"]]
        rows[new["id"]] = new
        event("u", old, new, at)
    return lines


# Customers: only the key is sure to be in an event's before.
def customers():
    columns = [{"type": "int64", "optional": False, "field": "id"}, {"type": "string", "optional": False, "field": "name"},
               {"type": "string", "optional": True, "name": "io.debezium.data.Enum", "version": 1, "parameters": {"allowed": "at,ch,de,fr"}, "field": "country"},
               {"type": "bytes", "optional": False, "name": "org.apache.kafka.connect.data.Decimal", "version": 1, "parameters": {"scale": "2", "connect.decimal.precision": "10"}, "field": "credit"},
               {"type": "int64", "optional": True, "name": "io.debezium.time.Timestamp", "version": 1, "field": "joined"},
               {"type": "int32", "optional": True, "name": "io.debezium.time.Date", "version": 1, "field": "born"}]
    image = lambda field: {"type": "struct", "fields": columns, "optional": True, "name": "shop.shop.customers.Value", "field": field}
    schema = {"type": "struct", "fields": [image("before"), image("after"), {"type": "string", "optional": False, "field": "op"},
                                           {"type": "int64", "optional": True, "field": "ts_ms"}], "optional": False, "name": "shop.shop.customers.Envelope"}
    lines, rows, at, position = [], {}, START - 86400, 154
    def event(op, before, after):
        source = {"version": "3.0.8.Final", "connector": "mysql", "name": "shop", "ts_ms": at * 1000, "db": "shop", "table": "customers", "server_id": 223344, "file": "mysql-bin.000003", "pos": position, "row": 0}
        lines.append(dump({"schema": schema, "payload": {"before": before, "after": after, "source": source, "op": op, "ts_ms": at * 1000 + 17}}))
    for _ in range(120):
        at += r.randint(60, 900)
        position += r.randint(100, 900)
        id = r.randint(1, 40)
        old = rows.get(id)
        if old is None or r.random() < .85:
            new = {"id": id, "name": r.choice(["Ada", "Bob", "Cy", "Dee", "Zoë"]) + " " + str(id), "country": r.choice(["at", "ch", "de", "fr", None]),
                   "credit": decimal(r.randint(-5000, 100_000)), "joined": (old or {}).get("joined", at * 1000), "born": days(START) - r.randint(7000, 30000)}
            rows[id] = new
            event("u" if old else "c", r.choice([old, None]) if old else None, new)
        else:
            del rows[id]
            event("d", r.choice([old, {"id": id}]), None)
    return lines


# Prices: a product has at most one, and a change is a row out and a row in; "rug" comes twice for a while.
def prices():
    lines, now = ["product,price,_weight"], {}
    for i in range(120):
        p = r.choice(["desk", "lamp", "chair", "shelf"])
        if p in now:
            lines.append(f"{p},{now[p]},-1")
        if r.random() < .8:
            now[p] = "%d.%02d" % (r.randint(5, 400), r.randint(0, 99))
            lines.append(f"{p},{now[p]},1")
        else:
            now.pop(p, None)
        if i == 10:
            lines.append("rug,79.90,2")
        if i == 90:
            lines.append("rug,79.90,-1")
    return lines


out("cdc_orders.ndjson", orders())
out("cdc_customers.ndjson", customers())
out("cdc_prices.csv", prices())
