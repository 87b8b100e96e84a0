{{/* Labels of an object of the installation; takes the context and the name of what it belongs to. */}}
{{- define "webshell.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: webshell
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* An image from its repository, digest and tag. */}}
{{- define "webshell.image" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "webshell.ownImage" -}}
{{- with .Values.image -}}
{{- include "webshell.image" (dict "repository" .repository "digest" .digest "tag" (.tag | default $.Chart.AppVersion)) }}
{{- end }}
{{- end }}

{{- define "webshell.gatewayRepository" -}}
{{ .Values.gateway.image.repository | default .Values.image.repository }}
{{- end }}

{{- define "webshell.gatewayImage" -}}
{{- with .Values.gateway.image -}}
{{- include "webshell.image" (dict "repository" (include "webshell.gatewayRepository" $) "digest" .digest "tag" .tag) }}
{{- end }}
{{- end }}

{{/* The origin of the portal. */}}
{{- define "webshell.portalOrigin" -}}
{{ .Values.route.scheme }}://{{ .Values.route.host }}{{ with .Values.route.port }}:{{ . | int }}{{ end }}
{{- end }}

{{/* The host of the gateway of a namespace; takes the context and the namespace. */}}
{{- define "webshell.gatewayHost" -}}
{{ ternary .namespace "gateways" (eq .root.Values.route.mode "Host") }}.{{ .root.Values.route.host }}
{{- end }}

{{- define "webshell.controllerUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:webshell-controller
{{- end }}

{{/* The kinds of what the controller keeps in a namespace, all by the name webshell-gateway: API groups and their resources. */}}
{{- define "webshell.gatewayResources" -}}
"": [configmaps, serviceaccounts, services]
apps: [deployments]
gateway.networking.k8s.io: [httproutes]
networking.k8s.io: [ingresses, networkpolicies]
rbac.authorization.k8s.io: [rolebindings]
{{- end }}

{{/* What the schema cannot say. Each text names the value and the way out. */}}
{{- define "webshell.validate" -}}
{{- with .Values.route -}}
{{- if not .host }}
{{- fail "route.host is missing: give the name that browsers are to use, such as --set route.host=shell.example.com" }}
{{- end }}
{{- if regexMatch "^[0-9.]+$" .host }}
{{- fail (printf "route.host: %s is an address; routes need a name" .host) }}
{{- end }}
{{- if not (contains "." .host) }}
{{- fail (printf "route.host: gateways are subdomains, and browsers count those of %q as foreign sites to it, which log-in cannot cross: give a name with a dot, such as shell.example.com, or shell.localhost to try it out" .host) }}
{{- end }}
{{- $before := ternary (dict "what" "a namespace" "most" 189) (dict "what" "gateways" "most" 244) (eq .mode "Host") }}
{{- if gt (len .host) (int $before.most) }}
{{- fail (printf "route.host is too long: with %s before it, it must fit 253 characters, so give it %d at most" $before.what (int $before.most)) }}
{{- end }}
{{- if and (eq .kind "HTTPRoute") (not .parentRefs) }}
{{- fail "route.parentRefs is empty: an HTTPRoute needs a Gateway to attach to, such as --set 'route.parentRefs[0].name=web,route.parentRefs[0].namespace=gateways'" }}
{{- end }}
{{- end }}
{{- end }}

{{/* As a JSON array: the listeners of our Gateways, as far as the cluster has them by now, that take routes of all namespaces for the
portal's host. */}}
{{- define "webshell.openListeners" -}}
{{- $open := list }}
{{- if eq .Values.route.kind "HTTPRoute" }}
{{- range .Values.portal.parentRefs | default .Values.route.parentRefs }}
{{- $parent := . }}
{{- $gateway := lookup "gateway.networking.k8s.io/v1" "Gateway" .namespace .name | default dict }}
{{- range ($gateway.spec | default dict).listeners }}
{{- $host := .hostname | default "*" }}
{{- $serves := or (eq $host $.Values.route.host "*") (and (hasPrefix "*" $host) (hasSuffix (trimPrefix "*" $host) $.Values.route.host)) }}
{{- $from := ((.allowedRoutes | default dict).namespaces | default dict).from | default "Same" }}
{{- if and $serves (eq $from "All") (eq ($parent.sectionName | default .name) .name) }}
{{- $open = append $open (printf "%s of Gateway %s/%s" .name $parent.namespace $parent.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $open }}
{{- end }}

{{/* The settings as src/config.rs reads them. */}}
{{- define "webshell.config" -}}
{{- include "webshell.validate" . -}}
gateway:
  image: {{ include "webshell.gatewayImage" . | quote }}
  {{- with .Values.gateway }}
  imagePullPolicy: {{ .image.pullPolicy }}
  imagePullSecrets: {{ toJson .imagePullSecrets }}
  resources: {{ toJson .resources }}
  nodeSelector: {{ toJson .nodeSelector }}
  tolerations: {{ toJson .tolerations }}
  drainTimeout: {{ .drainTimeout | quote }}
  apiOutageGrace: {{ .apiOutageGrace | quote }}
  maxSessions: {{ .maxSessions | int }}
  trustedProxies: {{ toJson .trustedProxies }}
  {{- end }}
  runAsUser: {{ with .Values.podSecurity.runAsUser }}{{ . | int64 }}{{ else }}null{{ end }}
  log: {{ toJson .Values.log }}
route:
  {{- with .Values.route }}
  kind: {{ .kind }}
  mode: {{ .mode }}
  host: {{ .host | quote }}
  scheme: {{ .scheme }}
  {{- with .port }}
  port: {{ . | int }}
  {{- end }}
  annotations: {{ toJson .annotations }}
  {{- with .ingressClassName }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with .tlsSecretName }}
  tlsSecretName: {{ . | quote }}
  {{- end }}
  probe: {{ .probe }}
  parentRefs: {{ toJson .parentRefs }}
  {{- end }}
namespaceSelector: {{ toJson (.Values.namespaceSelector | default dict) }}
networkPolicy: {{ .Values.networkPolicy | quote }}
scrapers: {{ toJson .Values.monitoring.scrapers }}
policy:
  {{- with .Values.policy }}
  allowedCidrs: {{ toJson .allowedCidrs }}
  deniedCidrs: {{ toJson .deniedCidrs }}
  allowedPorts: {{ toJson .allowedPorts }}
  forbidInsecure: {{ .forbidInsecure }}
  forbidTrustOnFirstUse: {{ .forbidTrustOnFirstUse }}
  forbidShortRsaKeys: {{ .forbidShortRsaKeys }}
  {{- with .maxSessionsPerUser }}
  maxSessionsPerUser: {{ . | int }}
  {{- end }}
  {{- with .maxSessionsPerWebShell }}
  maxSessionsPerWebShell: {{ . | int }}
  {{- end }}
  {{- with .maxSessionsPerNamespace }}
  maxSessionsPerNamespace: {{ . | int }}
  {{- end }}
  {{- end }}
loginLifetime: {{ .Values.loginLifetime | quote }}
{{- end }}

{{/* What a container of ours may do: nothing that Pod Security `restricted` forbids. */}}
{{- define "webshell.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "webshell.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.podSecurity.runAsUser }}
runAsUser: {{ . | int64 }}
runAsGroup: {{ . | int64 }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The authority of the public certificate for a pod that proves routes; each takes the name of its ConfigMap. */}}
{{- define "webshell.caVariable" -}}
- {name: SSL_CERT_FILE, value: /etc/webshell-ca/ca.crt}
{{- end }}

{{- define "webshell.caMount" -}}
- {name: ca, mountPath: /etc/webshell-ca, readOnly: true}
{{- end }}

{{- define "webshell.caVolume" -}}
- name: ca
  configMap: {name: {{ . }}}
{{- end }}

{{/* The pod of the controller or the portal; takes the context, the role, its values and its ports, and "ca" where it proves routes. */}}
{{- define "webshell.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: webshell-{{ .role }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "webshell.labels" (dict "root" .root "name" (printf "webshell-%s" .role)) | nindent 4 }}
spec:
  replicas: {{ .replicas | int }}
  selector:
    matchLabels:
      app.kubernetes.io/name: webshell-{{ .role }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata:
      labels:
        {{- include "webshell.labels" (dict "root" .root "name" (printf "webshell-%s" .role)) | nindent 8 }}
      annotations:
        # The settings are read at the start.
        checksum/config: {{ include "webshell.config" .root | sha256sum }}
    spec:
      serviceAccountName: webshell-{{ .role }}
      # Their variables begin as ours do.
      enableServiceLinks: false
      securityContext:
        {{- include "webshell.podSecurity" .root | nindent 8 }}
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets: {{ toJson . }}
      {{- end }}
      containers:
      - name: {{ .role }}
        image: {{ include "webshell.ownImage" .root | quote }}
        imagePullPolicy: {{ .root.Values.image.pullPolicy }}
        args:
        - {{ .role }}
        - --config=/etc/webshell/config.yaml
        - --admin-listen=0.0.0.0:8081
        {{- range .args }}
        - {{ . }}
        {{- end }}
        env:
        - name: WEBSHELL_NAMESPACE
          valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
        - name: WEBSHELL_POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - name: WEBSHELL_LOG_FORMAT
          value: {{ .root.Values.log.format }}
        - name: WEBSHELL_LOG_LEVEL
          value: {{ .root.Values.log.level }}
        {{- with .ca }}
        {{- include "webshell.caVariable" . | nindent 8 }}
        {{- end }}
        ports:
        {{- range $name, $port := .ports }}
        - {name: {{ $name }}, containerPort: {{ $port }}}
        {{- end }}
        livenessProbe:
          httpGet: {path: /healthz, port: admin}
          periodSeconds: 10
          timeoutSeconds: 5
        readinessProbe:
          httpGet: {path: /readyz, port: admin}
          periodSeconds: 5
          timeoutSeconds: 5
        {{- if hasKey .ports "http" }}
        # Proxies learn that it stops no sooner than it does itself.
        lifecycle: {preStop: {sleep: {seconds: 5}}}
        {{- end }}
        resources: {{ toJson .values.resources }}
        securityContext:
          {{- include "webshell.containerSecurity" .root | nindent 10 }}
        volumeMounts:
        - {name: config, mountPath: /etc/webshell, readOnly: true}
        {{- with .ca }}
        {{- include "webshell.caMount" . | nindent 8 }}
        {{- end }}
      volumes:
      - name: config
        configMap: {name: webshell-config}
      {{- with .ca }}
      {{- include "webshell.caVolume" . | nindent 6 }}
      {{- end }}
      {{- with .values.nodeSelector }}
      nodeSelector: {{ toJson . }}
      {{- end }}
      {{- with .values.tolerations }}
      tolerations: {{ toJson . }}
      {{- end }}
      {{- with .values.affinity }}
      affinity: {{ toJson . }}
      {{- end }}
{{- end }}

{{/* The binding of an admission policy: whatever fails, or cannot be judged, is refused. Takes the context and the name. */}}
{{- define "webshell.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "webshell.labels" (dict "root" .root "name" "webshell") | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end }}

{{/* A text in CEL's quotes. */}}
{{- define "webshell.cel" -}}
'{{ . | replace `\` `\\` | replace "'" `\'` }}'
{{- end }}

{{- define "webshell.celList" -}}
[{{ range $i, $text := . }}{{ if $i }}, {{ end }}{{ include "webshell.cel" $text }}{{ end }}]
{{- end }}

{{/* namespaceSelector as CEL over variables.labels. */}}
{{- define "webshell.namespaceSelected" -}}
{{- $terms := list }}
{{- $selector := .Values.namespaceSelector | default dict }}
{{- range $key, $value := $selector.matchLabels }}
{{- $terms = append $terms (printf "variables.labels[?%s].orValue('') == %s" (include "webshell.cel" $key) (include "webshell.cel" $value)) }}
{{- end }}
{{- range $selector.matchExpressions }}
{{- $key := include "webshell.cel" .key }}
{{- $in := printf "(%s in variables.labels && variables.labels[%s] in %s)" $key $key (include "webshell.celList" (.values | default list)) }}
{{- $has := printf "(%s in variables.labels)" $key }}
{{- $terms = append $terms (get (dict "In" $in "NotIn" (print "!" $in) "Exists" $has "DoesNotExist" (print "!" $has)) .operator) }}
{{- end }}
{{- join " && " $terms | default "true" }}
{{- end }}
