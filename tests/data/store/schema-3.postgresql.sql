SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.dask_gateway (
    id integer NOT NULL,
    schema_version integer NOT NULL,
    key_check bytea NOT NULL,
    probes integer NOT NULL
);
CREATE TABLE public.dask_gateway_clusters (
    name text NOT NULL,
    document text NOT NULL,
    secrets bytea NOT NULL,
    seal bytea NOT NULL
);
CREATE TABLE public.dask_gateway_documents (
    kind text NOT NULL,
    name text NOT NULL,
    document text NOT NULL,
    seal bytea NOT NULL
);
CREATE TABLE public.dask_gateway_submissions (
    cluster text NOT NULL,
    name text NOT NULL,
    document text NOT NULL,
    seal bytea NOT NULL
);
INSERT INTO public.dask_gateway VALUES (1, 3, '\x6741414141414272435335644e714c6247485a596738764d684a775937616e4930764a3863574c7641524b6d6f66477a6e41727137574578435f4e526b6c334758573944314a5266444c314a6731496864324c574c37587164387563417943744f413d3d', 0);
INSERT INTO public.dask_gateway_clusters VALUES ('one', '{"name": "one", "username": "alice", "tls_cert": "-----BEGIN CERTIFICATE-----\n", "options": {"size": "large"}, "config": {"worker_cores": 2, "environment": {"A": "b"}}, "status": "PENDING", "reason": "\u0000 \udcff ''x", "stopped": "", "count": 0, "groups": 0, "scheduler_address": "", "dashboard_address": "", "api_address": "", "start_time": 1700000000000, "stop_time": null}', '\x67414141414142724353356465443450334a7933372d72586763534d3955435633566a533675567a6b3135342d324b567a4c75375454657346596b53374f58786c366c54506c485872675634395969787a4a6670346256573045446a6b6e587970776765324f7755576d3737496e31375a4f335f753179497652356a6933484443785f434b5351304e414748783647613241724870473739674f5a6245486f6d73413d3d', '\x3a336295a6db2164729084c61f18d779346f8bb2f4caa1bbe47769fb54cb6f32');
INSERT INTO public.dask_gateway_clusters VALUES ('two', '{"name": "two", "username": "bob", "tls_cert": "-----BEGIN CERTIFICATE-----\n", "options": {"size": "large"}, "config": {"worker_cores": 2, "environment": {"A": "b"}}, "status": "STOPPED", "reason": "", "stopped": "", "count": 0, "groups": 0, "scheduler_address": "", "dashboard_address": "", "api_address": "", "start_time": 1700000000000, "stop_time": 5}', '\x67414141414142724353356453522d5854575f36534263386f6f6b674a7052436f4a324553306670456f594a712d756231475965643859794677726e6c63444e593139754b41693353626b324c484637614559437a6342654145632d4666344f6a546835524e765544516a32475f36725976322d416d5661686569732d59303834743844615f2d59496b773957434165336a7558553255363268434c7351326b39513d3d', '\x09fb408f5a38bcde3a09ff41c9a2bef97029760099e2fa573258a74b9348efec');
INSERT INTO public.dask_gateway_documents VALUES ('sessions', 'b2', '{"until": 5}', '\x3611b9a2851ac898c1e964315f312700217f9cb340bd7634ed7348c5d4c97301');
INSERT INTO public.dask_gateway_documents VALUES ('tokens', 'a1', '{"user": "alice", "label": "it''s"}', '\xe861cd2c8ec53da376ceae37d2a7f085b372725c8a009068a3a77720825d888b');
INSERT INTO public.dask_gateway_submissions VALUES ('one', 's', '{"cluster": "one", "group": "s", "role": "scheduler", "count": 1, "jobs": null}', '\x3932339a656df9043a3fb48b022f4fe7a53a5d40630748fa836ad84e6fd8e527');
INSERT INTO public.dask_gateway_submissions VALUES ('one', 'w1', '{"cluster": "one", "group": "w1", "role": "worker", "count": 2, "jobs": ["7_0", "7_1"]}', '\x9cadad974320b33e2fd00660f32c7f6f3c8af1922e70a28c3355228943eb838c');
ALTER TABLE ONLY public.dask_gateway_clusters
    ADD CONSTRAINT dask_gateway_clusters_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.dask_gateway_documents
    ADD CONSTRAINT dask_gateway_documents_pkey PRIMARY KEY (kind, name);
ALTER TABLE ONLY public.dask_gateway
    ADD CONSTRAINT dask_gateway_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.dask_gateway_submissions
    ADD CONSTRAINT dask_gateway_submissions_pkey PRIMARY KEY (cluster, name);
ALTER TABLE ONLY public.dask_gateway_submissions
    ADD CONSTRAINT dask_gateway_submissions_cluster_fkey FOREIGN KEY (cluster) REFERENCES public.dask_gateway_clusters(name) ON DELETE CASCADE;
