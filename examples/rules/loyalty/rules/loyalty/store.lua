-- All SQL of loyalty. A sale and its undoing may arrive in any order, and each more than once: what remains is the same.
local store = {}

store.earn = [[INSERT INTO loyalty.sales AS s (quotation_id, customer_id, points, at)
SELECT n.quotation_id, n.customer_id, n.points, $4::timestamptz FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS n (quotation_id, customer_id, points)
ORDER BY n.quotation_id
ON CONFLICT (quotation_id) DO UPDATE SET points = excluded.points]]
store.undo = [[INSERT INTO loyalty.sales (quotation_id, customer_id, points, undone, at) VALUES ($1, $2, 0, true, $3)
ON CONFLICT (quotation_id) DO UPDATE SET undone = true]]

store.customer = "SELECT id, name FROM crm.customer_names WHERE id = $1"
store.balance = [[SELECT coalesce(sum(points), 0)::integer AS points, count(*)::integer AS sales
FROM loyalty.sales WHERE customer_id = $1 AND NOT undone]]

return store
