-- Aggregates in an order: list, string_agg, first, last, arg_max.
CREATE SOURCE orders (
  id BIGINT, customer VARCHAR, placed TIMESTAMP, paid BOOLEAN, discount DOUBLE, tags VARCHAR[],
  lines STRUCT(item VARCHAR, qty INTEGER, price DECIMAL(9, 2))[]
) WITH (connector = 'file', path = '../testdata/orders.ndjson');

CREATE MATERIALIZED VIEW customers AS
SELECT customer, list(id ORDER BY id) AS ids, string_agg(id::VARCHAR, ',' ORDER BY id DESC) AS backwards,
  first(placed ORDER BY id) AS first_at, last(placed ORDER BY id) AS last_at, arg_max(lines, id) AS last_lines, arg_min(discount, id) AS first_discount,
  list(DISTINCT discount ORDER BY discount) AS discounts, array_agg(tags ORDER BY id) FILTER (WHERE paid) AS paid_tags
FROM orders
GROUP BY customer;
