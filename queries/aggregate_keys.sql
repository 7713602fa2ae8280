-- Grouping by expressions, aliases, positions, NULLs, structs and nothing but keys.
CREATE SOURCE orders (
  id BIGINT, customer VARCHAR, placed TIMESTAMP, paid BOOLEAN, discount DOUBLE, tags VARCHAR[],
  lines STRUCT(item VARCHAR, qty INTEGER, price DECIMAL(9, 2))[]
) WITH (connector = 'file', path = '../testdata/orders.ndjson');

CREATE MATERIALIZED VIEW by_expressions AS
SELECT coalesce(customer, '?') AS who, id % 7 AS day, count(*) AS n, sum(id + 1) AS ids
FROM orders
GROUP BY who, 2;

CREATE MATERIALIZED VIEW by_nulls AS
SELECT customer, paid, discount, count(*) AS n
FROM orders
GROUP BY ALL;

CREATE MATERIALIZED VIEW by_nested AS
SELECT tags, {paid: paid, named: customer IS NOT NULL} AS kind, count(*) AS n, min(id) AS first_id
FROM orders
GROUP BY tags, kind;

-- A key that is not in the result: the table has no key of its own, and may hold equal rows.
CREATE MATERIALIZED VIEW hidden_key AS
SELECT count(*) AS n, max(discount) AS discount
FROM orders
GROUP BY customer, paid;
