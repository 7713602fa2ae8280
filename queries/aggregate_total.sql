-- Totals without GROUP BY: one row always, even before the first event.
CREATE SOURCE orders (
  id BIGINT, customer VARCHAR, placed TIMESTAMP, paid BOOLEAN, discount DOUBLE, tags VARCHAR[],
  lines STRUCT(item VARCHAR, qty INTEGER, price DECIMAL(9, 2))[]
) WITH (connector = 'file', path = '../testdata/orders.ndjson');

CREATE MATERIALIZED VIEW totals AS
SELECT count(*) AS orders, count(DISTINCT customer) AS customers, sum(discount) AS discount, max(placed) AS last_at,
  avg(len(lines)) AS lines, bool_and(paid) AS all_paid
FROM orders;

CREATE MATERIALIZED VIEW none AS
SELECT count(*) AS n, sum(id) AS ids, list(id ORDER BY id) AS list
FROM orders
WHERE id < 0;
