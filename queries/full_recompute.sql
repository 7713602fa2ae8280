-- What has no cheaper rule yet is computed again over the kept input: correct, and explain says what it costs.
CREATE SOURCE orders (
  id BIGINT, customer VARCHAR, placed TIMESTAMP, paid BOOLEAN, discount DOUBLE, tags VARCHAR[],
  lines STRUCT(item VARCHAR, qty INTEGER, price DECIMAL(9, 2))[]
) WITH (connector = 'file', path = '../testdata/orders.ndjson');

-- A recursive query: every seventh order from those without a discount, as long as they are paid.
CREATE MATERIALIZED VIEW chains AS
WITH RECURSIVE chain(id) AS (
  SELECT id FROM orders WHERE discount IS NULL
  UNION
  SELECT o.id FROM chain c JOIN orders o ON o.id = c.id + 7 WHERE o.paid
)
SELECT id FROM chain;
