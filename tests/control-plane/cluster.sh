# What one cluster consists of; sourced by scripts/control-plane, which also says what launch, aside, in_time
# and give_up do. Everything happens inside DIR, so the paths are relative to it.
# shellcheck shell=bash
# shellcheck disable=SC2154 # files, pid, log_of: of scripts/control-plane

declare -a api_pid=() api_port=() # by number of cluster

certificate() { # NAME SUBJECT EXTENSIONS [SIGNER]: an EC key and a certificate, signed by SIGNER or itself
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "$2" \
        -keyout "$1.key" -out "$1.crt" ${4:+-CA "$4.crt" -CAkey "$4.key"} -config <(
        printf '%s\n' '[req]' 'distinguished_name = name' 'x509_extensions = extensions' '[name]' '[extensions]' "$3"
    ) 2>openssl.log || { cat openssl.log >&2; return 1; }
}

certificates() { # NUMBER: every cluster has its own, so that no cluster takes the token of another
    mkdir "cluster-$1"
    cd "cluster-$1"
    certificate ca "/CN=cluster-$1" 'basicConstraints = critical, CA:TRUE'
    certificate server /CN=kube-apiserver 'subjectAltName = IP:127.0.0.1, DNS:localhost' ca
    local user # names of their own, so that the audit log tells them from whoever uses the kubeconfig
    for user in admin system:kube-controller-manager system:kube-scheduler kwok; do
        certificate "${user#system:}" "/O=system:masters/CN=$user" 'extendedKeyUsage = clientAuth' ca
    done
    openssl ecparam -name prime256v1 -genkey -noout -out tokens.key
}

kubeconfig() { # NUMBER USER
    local name=cluster-$1
    cat >"$name/$2.kubeconfig" <<EOF
apiVersion: v1
kind: Config
current-context: $name
clusters:
- name: $name
  cluster: {server: "https://127.0.0.1:${api_port[$1]}", certificate-authority-data: $(base64 -w0 "$name/ca.crt")}
users:
- name: $name-$2
  user: {client-certificate-data: $(base64 -w0 "$name/$2.crt"), client-key-data: $(base64 -w0 "$name/$2.key")}
contexts:
- name: $name
  context: {cluster: $name, user: $name-$2}
EOF
}

free_port() { # NUMBER; sets $port
    # Below the ports the kernel gives to outgoing connections, of which there are many here: one that is
    # free now would soon not be. start_api tries again should somebody take it first.
    for _ in {1..50}; do
        port=$((20000 + $1 * 1000 + RANDOM % 1000))
        (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
    done
}

start_etcd() {
    # Clients use a socket in DIR, which needs no port and lets in nobody else; etcd wants host:port
    # there too and makes a file "etcd:1" of it. What would survive a crash is of no interest.
    launch etcd.log etcd --name control-plane --data-dir etcd --unsafe-no-fsync --log-level warn \
        --listen-client-urls unix://etcd:1 --advertise-client-urls unix://etcd:1 \
        --listen-peer-urls http://127.0.0.1:0 --enable-grpc-gateway=false
    until [[ -S etcd:1 ]]; do
        in_time "$pid" || give_up etcd.log
        sleep 0.1
    done
}

start_api() { # NUMBER
    local c=cluster-$1 port
    free_port "$1"
    api_port[$1]=$port
    launch "$c/kube-apiserver.log" kube-apiserver --bind-address=127.0.0.1 --secure-port="$port" \
        --advertise-address=127.0.0.1 --endpoint-reconciler-type=none \
        --etcd-servers=unix://etcd:1 --etcd-prefix="/$c" \
        --tls-cert-file="$c/server.crt" --tls-private-key-file="$c/server.key" --client-ca-file="$c/ca.crt" \
        --authorization-mode=RBAC --service-cluster-ip-range=10.96.0.0/16 \
        --service-account-issuer="https://$c.invalid" \
        --service-account-key-file="$c/tokens.key" --service-account-signing-key-file="$c/tokens.key" \
        --audit-policy-file="$files/audit-policy.yaml" --audit-log-path="$c/audit.log" --audit-log-mode=blocking
    api_pid[$1]=$pid
    local user
    for user in admin kube-controller-manager kube-scheduler kwok; do kubeconfig "$1" "$user"; done
}

await_api() { # NUMBER
    local log=cluster-$1/kube-apiserver.log
    until kubectl --kubeconfig "cluster-$1/admin.kubeconfig" --request-timeout=5s get --raw /readyz \
        >/dev/null 2>&1 8>&- 9>&-; do
        sleep 0.2
        if in_time "${api_pid[$1]}"; then continue; fi
        if ! grep -q 'address already in use' "$log" || ((SECONDS >= start_limit)); then give_up "$log"; fi
        unset "log_of[${api_pid[$1]}]"
        start_api "$1"
    done
}

start_controllers() { # NUMBER
    local c=cluster-$1
    # Port 0 is none: nobody asks these two anything.
    launch "$c/kube-controller-manager.log" kube-controller-manager --kubeconfig="$c/kube-controller-manager.kubeconfig" \
        --secure-port=0 --leader-elect=false --use-service-account-credentials=false \
        --service-account-private-key-file="$c/tokens.key" --root-ca-file="$c/ca.crt"
    launch "$c/kube-scheduler.log" kube-scheduler --kubeconfig="$c/kube-scheduler.kubeconfig" \
        --secure-port=0 --leader-elect=false
    launch "$c/kwok.log" kwok --kubeconfig="$c/kwok.kubeconfig" --config="$files/stages.yaml" \
        --manage-all-nodes=true --node-lease-duration-seconds=40
}

objects() { # NUMBER: nodes, storage classes and volumes, for one kubectl create
    local class number default expand text
    text=$(<"$files/node.yaml")
    text=${text//@CLUSTER@/$1}
    for number in 1 2 3; do printf '%s\n' "${text//@NODE@/$number}"; done
    for class in managed-premium:200:false:true local:40:false:false standard:40:true:true; do
        IFS=: read -r class number default expand <<<"$class"
        text=$(<"$files/storage-class.yaml")
        text=${text//@DEFAULT@/$default}
        text=${text//@EXPAND@/$expand}
        printf '%s\n' "${text//@CLASS@/$class}"
        text=$(<"$files/volume.yaml")
        text=${text//@CLASS@/$class}
        for ((; number > 0; number--)); do printf '%s\n' "${text//@NUMBER@/$number}"; done
    done
}

fill() { # NUMBER
    local ask="kubectl --kubeconfig cluster-$1/admin.kubeconfig" one
    objects "$1" | $ask create --validate=false --request-timeout=30s -o name -f - >/dev/null
    for one in 'condition=Ready node --all' 'create serviceaccount/default --namespace default'; do
        # shellcheck disable=SC2086 # words
        until $ask wait --timeout=5s --for=$one >/dev/null; do in_time "${api_pid[$1]}" || return 1; done
    done
}
