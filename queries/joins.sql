-- Joins, inner and outer, and window functions over them; only what the new rows touch is computed again.
CREATE SOURCE orders (
  id BIGINT, customer VARCHAR, placed TIMESTAMP, paid BOOLEAN, discount DOUBLE, tags VARCHAR[],
  lines STRUCT(item VARCHAR, qty INTEGER, price DECIMAL(9, 2))[]
) WITH (connector = 'file', path = '../testdata/orders.ndjson');

CREATE SOURCE flight (
  date TIMESTAMP, delay BIGINT, distance BIGINT, origin VARCHAR, destination VARCHAR
) WITH (connector = 'file', path = '../testdata/flights_new_year.ndjson');

-- A self-join: the connections at an airport within half an hour.
CREATE MATERIALIZED VIEW connections AS
SELECT a.origin, a.destination AS via, b.destination, a.date AS left_at, b.date AS on_at
FROM flight a JOIN flight b ON a.destination = b.origin
WHERE a.distance < 200 AND b.distance > 2000 AND b.date BETWEEN a.date AND a.date + INTERVAL '30 minutes';

-- A window function.
CREATE MATERIALIZED VIEW gaps AS
SELECT id, customer, placed - lag(placed) OVER (PARTITION BY customer ORDER BY id) AS gap
FROM orders;

-- The three largest of each, and an outer join.
CREATE MATERIALIZED VIEW largest AS
WITH amount AS (SELECT id, customer, list_sum(list_transform(lines, lambda l: l.qty * l.price)) AS amount FROM orders)
SELECT o.customer, o.id, a.amount
FROM (SELECT DISTINCT customer, id FROM orders WHERE customer IS NOT NULL) o LEFT JOIN amount a USING (id)
QUALIFY row_number() OVER (PARTITION BY o.customer ORDER BY a.amount DESC NULLS LAST, o.id) <= 3;
