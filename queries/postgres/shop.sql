-- Views of the tables you have: sources and targets are the same PostgreSQL (wal_level = logical). shop.psql makes the
-- tables; then
--   sluice run queries/postgres/shop.sql --postgres postgres://…
-- keeps four tables in schema public at what their queries say, as of one LSN: docs/cdc.md.
CREATE SOURCE customers (id BIGINT, name VARCHAR, country VARCHAR, PRIMARY KEY (id) NOT ENFORCED)
WITH (connector = 'postgres_cdc', table = 'shop.customers');
CREATE SOURCE orders (id BIGINT, customer_id BIGINT, status VARCHAR, placed_at TIMESTAMPTZ, PRIMARY KEY (id) NOT ENFORCED)
WITH (connector = 'postgres_cdc', table = 'shop.orders');
CREATE SOURCE items (order_id BIGINT, product VARCHAR, quantity INTEGER, price DECIMAL(9, 2))
WITH (connector = 'postgres_cdc', table = 'shop.items');

-- An update of a customer's country moves all its revenue.
CREATE MATERIALIZED VIEW revenue AS
SELECT c.country, o.status, count(DISTINCT o.id) AS orders, sum(i.quantity * i.price) AS amount
FROM orders o JOIN customers c ON c.id = o.customer_id JOIN items i ON i.order_id = o.id
GROUP BY c.country, o.status;

-- Customers who never ordered are there, too.
CREATE MATERIALIZED VIEW customer_orders AS
SELECT c.id, c.name, count(o.id) AS orders, max(o.placed_at) AS latest
FROM customers c LEFT JOIN orders o ON o.customer_id = c.id
GROUP BY c.id, c.name;

-- What is sold best.
CREATE MATERIALIZED VIEW bestsellers AS
SELECT product, sum(quantity) AS sold FROM items GROUP BY product ORDER BY sold DESC, product LIMIT 5;

-- What is to be sent.
CREATE MATERIALIZED VIEW to_send AS
SELECT o.id, c.name, c.country, o.placed_at FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.status = 'paid';
