BEGIN TRANSACTION;
CREATE TABLE dask_gateway (
	id INTEGER NOT NULL, 
	schema_version INTEGER NOT NULL, 
	key_check BLOB NOT NULL, 
	probes INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "dask_gateway" VALUES(1,1,X'6741414141414272434D673469346E50364D53616C5F696D466D6456746D71755669517748753169536E485764723335527A37444167426861506F6A38766E782D4346786A304F49505074327A383055364347716A6E48526530734D644B55506B773D3D',0);
CREATE TABLE dask_gateway_clusters (
	name TEXT NOT NULL, 
	document TEXT NOT NULL, 
	secrets BLOB NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "dask_gateway_clusters" VALUES('one','{"name": "one", "username": "alice", "tls_cert": "-----BEGIN CERTIFICATE-----\n", "options": {"size": "large"}, "config": {"worker_cores": 2, "environment": {"A": "b"}}, "status": "PENDING", "reason": "\u0000 \udcff ''x", "stopped": "", "count": 0, "groups": 0, "scheduler_address": "", "dashboard_address": "", "api_address": "", "start_time": 1700000000000, "stop_time": null}',X'6741414141414272434D67342D454D39416B2D38774970637152797236696F6C56644B616956594837466A42666B646353566634785456496B4C7847426F614341666663765675313431763342506A6851396963374D384E48787A4F645841394C514E2D58616D383074744D373334764C65684B63745F69595649496D36644E496D76733655435A587076446369303263796C742D4830725931724C7939595251673D3D');
INSERT INTO "dask_gateway_clusters" VALUES('two','{"name": "two", "username": "bob", "tls_cert": "-----BEGIN CERTIFICATE-----\n", "options": {"size": "large"}, "config": {"worker_cores": 2, "environment": {"A": "b"}}, "status": "STOPPED", "reason": "", "stopped": "", "count": 0, "groups": 0, "scheduler_address": "", "dashboard_address": "", "api_address": "", "start_time": 1700000000000, "stop_time": 5}',X'6741414141414272434D67346A71715A336F50362D64414C6C444E70506A47574844526F6D39724E79586A6268654D7666576F706F74667458785A516D5963636D63786D5675754F576554797759314C433366344271504F4A34595A7A683530544651744D78566239516F33616C7663705F43643847724E35333672656679626D444F79616F4155505F4871727A6B6A42326935474D393742456C4C6D6B38344E413D3D');
CREATE TABLE dask_gateway_submissions (
	cluster TEXT NOT NULL, 
	name TEXT NOT NULL, 
	document TEXT NOT NULL, 
	PRIMARY KEY (cluster, name), 
	FOREIGN KEY(cluster) REFERENCES dask_gateway_clusters (name) ON DELETE CASCADE
);
INSERT INTO "dask_gateway_submissions" VALUES('one','s','{"cluster": "one", "group": "s", "role": "scheduler", "count": 1, "jobs": null}');
INSERT INTO "dask_gateway_submissions" VALUES('one','w1','{"cluster": "one", "group": "w1", "role": "worker", "count": 2, "jobs": ["7_0", "7_1"]}');
COMMIT;
