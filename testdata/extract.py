#!/usr/bin/env python3
"""Makes the files of this folder again. Needs `pip install duckdb==1.5.5` and testdata/flights.sh.

The output is the same to the byte for the same DuckDB version.
"""

import json
import os
import random
import subprocess

import duckdb

here = os.path.dirname(os.path.abspath(__file__))
whole = subprocess.run([os.path.join(here, "flights.sh")], check=True, capture_output=True, text=True).stdout.strip()
db = duckdb.connect()
db.execute("SET threads = 1")  # one thread keeps the order of the rows, and so the bytes

# The original is in the order of its date column; whole days of it, as many as fit into 2 MiB.
flights = f"SELECT date, delay, distance, origin, destination FROM '{whole}'"
db.execute(f"""
COPY ({flights} WHERE date < TIMESTAMP '2001-01-28')
TO '{here}/flights.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 22, PARQUET_VERSION v2)""")
db.execute(f"COPY ({flights} LIMIT 4000) TO '{here}/flights_new_year.csv' (FORMAT csv, HEADER)")
db.execute(f"COPY ({flights} LIMIT 3000) TO '{here}/flights_new_year.ndjson' (FORMAT json)")

# Invented orders with what flights lack: lists, structs, decimals, NULLs, text beyond ASCII, rows out of order.
pick = random.Random(20010101)
items = ["lamp", "desk", "chair", "Tür", "窓", "it's a \"rug\"", "a\tb", "", "🛋", "shelf"]
with open(os.path.join(here, "orders.ndjson"), "w", encoding="utf-8") as out:
    for i in range(1200):
        second = i * 7 - pick.choice([0, 0, 0, 1, 3, 9, 27])  # up to 27 seconds out of order
        lines = [
            {"item": pick.choice(items), "qty": pick.randint(1, 9), "price": f"{pick.randint(1, 99999) / 100:.2f}"}
            for _ in range(pick.choice([0, 1, 1, 2, 3, 5]))
        ]
        order = {
            "id": i + 1,
            "customer": pick.choice(["ada", "bob", "cyd", "dee", "eve", "Zoë", None]),
            "placed": f"2001-03-01 {8 + max(second, 0) // 3600:02d}:{max(second, 0) // 60 % 60:02d}:{max(second, 0) % 60:02d}",
            "paid": pick.choice([True, True, False, None]),
            "discount": pick.choice([None, 0.0, 0.05, 0.1, 0.25]),
            "tags": pick.choice([None, [], ["gift"], ["rush", "gift"], ["rush", None]]),
            "lines": lines,
        }
        if pick.random() < 0.1:
            del order[pick.choice(["customer", "paid", "discount", "tags"])]  # a missing field reads as NULL
        out.write(json.dumps(order, ensure_ascii=False) + "\n")
