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
INSERT INTO public.dask_gateway VALUES (1, 2, '\x67414141414142724353717a3847346f7a744d6d68435169454a73364a66624c7a6774564f6b52453556774a382d54416e493278775a4d676673594b6f306543746d37496777547953384f3959765552716d6c4452703666525056434377494d79673d3d', 0);
INSERT INTO public.dask_gateway_clusters VALUES ('one', '{"name": "one", "username": "alice", "tls_cert": "-----BEGIN CERTIFICATE-----\n", "options": {"size": "large"}, "config": {"worker_cores": 2, "environment": {"A": "b"}}, "status": "PENDING", "reason": "\u0000 \udcff ''x", "stopped": "", "count": 0, "groups": 0, "scheduler_address": "", "dashboard_address": "", "api_address": "", "start_time": 1700000000000, "stop_time": null}', '\x67414141414142724353717a483342344678454d63785434595646717743624b58336b774b6a79784c356a364c394e68556e59304e6e4548324f67744759796c68587672456761613747427a505f47714b37576d47795f7339325454566236376677323859376e4f56336f615a314531493744664e6f4a744930316f49784f4b4146756a77527a51633145596148736e734d3737635f6848624c5a67484e4a4665513d3d', '\x6a5fff0f3a6c372d3694092fa3723a18f4660a5f5976d1da635cae38d4e67fe9');
INSERT INTO public.dask_gateway_clusters VALUES ('two', '{"name": "two", "username": "bob", "tls_cert": "-----BEGIN CERTIFICATE-----\n", "options": {"size": "large"}, "config": {"worker_cores": 2, "environment": {"A": "b"}}, "status": "STOPPED", "reason": "", "stopped": "", "count": 0, "groups": 0, "scheduler_address": "", "dashboard_address": "", "api_address": "", "start_time": 1700000000000, "stop_time": 5}', '\x67414141414142724353717a446a706d52456e5774353779366e382d744a597159726a64664d3631343851436c6a754d38776a614645745376306962646d6b394d316d53574b4d343947684b707a7268495347786d7a4a4c6830307663664b776c486f50453847536e75574c4f5935322d5f53722d6662736435645f39676b2d78677743536f70706c7971696c41727a48346264564e7666445569706d59463142513d3d', '\x0825eecdea7c3664258731a7ac7a251e50356a9e8cda1f2c26428f35567bcc27');
INSERT INTO public.dask_gateway_documents VALUES ('tokens', 'a1', '{"user": "alice", "label": "it''s"}', '\xe861cd2c8ec53da376ceae37d2a7f085b372725c8a009068a3a77720825d888b');
INSERT INTO public.dask_gateway_documents VALUES ('sessions', 'b2', '{"until": 5}', '\x3611b9a2851ac898c1e964315f312700217f9cb340bd7634ed7348c5d4c97301');
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
