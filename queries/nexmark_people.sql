-- The other two streams: where people and auctions come from.
CREATE SOURCE person (
  id BIGINT, name VARCHAR, email_address VARCHAR, credit_card VARCHAR, city VARCHAR, state VARCHAR, date_time TIMESTAMP, extra VARCHAR
) WITH (connector = 'nexmark', type = 'person', events = 30000);

CREATE SOURCE auction (
  id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP, expires TIMESTAMP,
  seller BIGINT, category BIGINT, extra VARCHAR
) WITH (connector = 'nexmark', type = 'auction', events = 30000);

CREATE MATERIALIZED VIEW states AS
SELECT state, count(*) AS people, count(DISTINCT city) AS cities, min(name) AS first_name, max(id) AS newest
FROM person
GROUP BY state;

CREATE MATERIALIZED VIEW categories AS
SELECT category, count(*) AS auctions, count(DISTINCT seller) AS sellers, avg(reserve - initial_bid) AS mean_margin,
  max(expires - date_time) AS longest
FROM auction
GROUP BY category;
