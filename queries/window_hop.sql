-- Sliding windows: each row counts in several.
CREATE SOURCE orders (
  id BIGINT, customer VARCHAR, placed TIMESTAMP, paid BOOLEAN, discount DOUBLE, tags VARCHAR[],
  lines STRUCT(item VARCHAR, qty INTEGER, price DECIMAL(9, 2))[],
  WATERMARK FOR placed AS placed - INTERVAL '30 seconds'
) WITH (connector = 'file', path = '../testdata/orders.ndjson');

CREATE MATERIALIZED VIEW rolling AS
SELECT window_start, window_end, customer, count(*) AS orders, sum(discount) AS discount
FROM hop(orders, placed, INTERVAL '1 minute', INTERVAL '5 minutes')
GROUP BY window_start, window_end, customer;
