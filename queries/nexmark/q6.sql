-- Nexmark 6, average selling price by seller: over each seller's last ten closed auctions and the current one.
-- Class: incremental.
-- Differs: the winning bid is found with row_number, as in query 9, because the original's MAX(price) beside a
-- date_time that is not grouped is not SQL; equal prices go to the first bid, and sales at the same time are in
-- order of their auctions, so that the answer does not depend on the order of arrival. The auction is in the
-- result, so that a row says what it is about.
CREATE SOURCE auction (
  id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP, expires TIMESTAMP,
  seller BIGINT, category BIGINT, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'auction', events = 4000, event_rate = 100);

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 4000, event_rate = 100);

CREATE MATERIALIZED VIEW q6 AS
SELECT id AS auction, seller,
  avg(price) OVER (PARTITION BY seller ORDER BY date_time, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS avg_price
FROM (
  SELECT a.id, a.seller, b.price, b.date_time
  FROM auction a, bid b
  WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
  QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time, b.bidder, b.extra) = 1
);
