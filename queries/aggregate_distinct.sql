-- Distinct counts with filters, side by side; the shape of Nexmark's query 15.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 20000, event_rate = 500);

CREATE MATERIALIZED VIEW bidders AS
SELECT date_trunc('second', date_time) AS second, count(*) AS bids,
  count(*) FILTER (WHERE price < 10000) AS cheap, count(*) FILTER (WHERE price >= 1000000) AS dear,
  count(DISTINCT bidder) AS bidders, count(DISTINCT bidder) FILTER (WHERE price < 10000) AS cheap_bidders,
  count(DISTINCT auction) AS auctions, count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS dear_auctions
FROM bid
GROUP BY second;
