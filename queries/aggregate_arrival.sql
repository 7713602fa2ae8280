-- Order-sensitive aggregates without ORDER BY take the rows as they arrive.
CREATE SOURCE orders (
  id BIGINT, customer VARCHAR, placed TIMESTAMP, paid BOOLEAN, discount DOUBLE, tags VARCHAR[],
  lines STRUCT(item VARCHAR, qty INTEGER, price DECIMAL(9, 2))[]
) WITH (connector = 'file', path = '../testdata/orders.ndjson');

CREATE MATERIALIZED VIEW arrivals AS
SELECT paid, first(id) AS first_id, last(id) AS last_id, list(customer) AS customers, string_agg(customer, ' ') AS names
FROM orders
GROUP BY paid;
