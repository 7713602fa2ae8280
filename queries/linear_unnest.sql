-- Lists of structs become rows.
CREATE SOURCE orders (
  id BIGINT, customer VARCHAR, placed TIMESTAMP, paid BOOLEAN, discount DOUBLE, tags VARCHAR[],
  lines STRUCT(item VARCHAR, qty INTEGER, price DECIMAL(9, 2))[]
) WITH (connector = 'file', path = '../testdata/orders.ndjson');

CREATE MATERIALIZED VIEW line AS
SELECT id, customer, l.item, l.qty, l.price, l.qty * l.price AS amount
FROM (SELECT id, customer, unnest(lines) AS l FROM orders);

CREATE MATERIALIZED VIEW tag AS
SELECT id, unnest(tags) AS tag, len(tags) AS n
FROM orders;
