-- Changes instead of rows: two tables captured by Debezium, one with whole rows before a change and one with
-- keys, and a changelog of prices. Rows are updated, move to other keys, are deleted and come back, and every
-- view follows.
CREATE SOURCE orders (
  id BIGINT, customer_id BIGINT, product VARCHAR, qty INTEGER, discount DECIMAL(9, 2), status VARCHAR,
  placed_at TIMESTAMP, due DATE, note VARCHAR
) WITH (connector = 'file', format = 'debezium', path = '../testdata/cdc_orders.ndjson');

-- With a key, what a row was before it changed need not be in the events.
CREATE SOURCE customers (
  id BIGINT, name VARCHAR, country VARCHAR, credit DECIMAL(10, 2), joined TIMESTAMP, born DATE,
  PRIMARY KEY (id) NOT ENFORCED
) WITH (connector = 'file', format = 'debezium', path = '../testdata/cdc_customers.ndjson');

CREATE SOURCE prices (product VARCHAR, price DECIMAL(9, 2))
WITH (connector = 'file', format = 'changelog', path = '../testdata/cdc_prices.csv');

-- What every country would pay now; an order counts once for each price of its product.
CREATE MATERIALIZED VIEW revenue AS
SELECT c.country, o.status, count(*) AS orders, sum(o.qty * p.price - o.discount) AS amount
FROM orders o JOIN customers c ON o.customer_id = c.id JOIN prices p USING (product)
GROUP BY ALL;

-- Customers without an order are there, and orders of unknown customers.
CREATE MATERIALIZED VIEW per_customer AS
SELECT c.id, any_value(c.name) AS name, o.customer_id IS NULL AS without, count(o.id) AS orders, max(o.placed_at) AS latest, min(o.due) AS first_due
FROM customers c FULL JOIN orders o ON o.customer_id = c.id
GROUP BY ALL;

-- The two largest open orders of each product.
CREATE MATERIALIZED VIEW largest AS
SELECT product, id, qty, customer_id FROM orders WHERE status <> 'done'
QUALIFY row_number() OVER (PARTITION BY product ORDER BY qty DESC, id) <= 2;

CREATE MATERIALIZED VIEW waiting AS
SELECT DISTINCT product FROM orders WHERE status = 'new'
EXCEPT
SELECT product FROM prices;
