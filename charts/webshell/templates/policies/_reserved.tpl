{{/* What the policies of reserved hosts have in common. */}}

{{/* The hosts of portal and gateways, in words. */}}
{{- define "webshell.reservedHosts" -}}
{{- $gateways := include "webshell.gatewayHost" (dict "root" . "namespace" "*") -}}
{{ list .Values.route.host $gateways | uniq | join ", " }}
{{- end }}

{{/* Variable with the hosts of portal and gateways, as they may be written. */}}
{{- define "webshell.reservedVariable" -}}
{{- $names := list .Values.route.host }}
{{- if eq .Values.route.mode "Path" }}
{{- $names = append $names (include "webshell.gatewayHost" (dict "root" . "namespace" "")) | uniq }}
{{- end }}
{{- range $names }}{{ $names = append $names (print . ".") }}{{ end -}}
- name: reserved
  expression: {{ include "webshell.celList" $names | quote }}
{{- end }}

{{/* In CEL: whether host h would take requests for portal or gateways, by its name or as a wildcard. Some controllers take wildcards for one
label, others for several: both count. */}}
{{- define "webshell.isReserved" -}}
variables.reserved.exists(r, h == r || {{ if eq .Values.route.mode "Host" }}h.endsWith('.' + r) || {{ end -}}
(h.startsWith('*') && r.endsWith(h.substring(1))))
{{- end }}

{{/* Whose requests are judged: those in tenants' namespaces. */}}
{{- define "webshell.reservedConditions" -}}
- name: tenants
  expression: "!(request.namespace in {{ prepend .Values.reservedHosts.exemptNamespaces .Release.Namespace | include "webshell.celList" }})"
{{- end }}

{{/* Variables for annotations. `refused` are those of an ingress controller that are not listed, as far as somebody has just written them, or
the hosts and paths that they are for (variable routed). */}}
{{- define "webshell.annotationVariables" -}}
{{- $domains := .Values.reservedHosts.controllerDomains }}
{{- $keys := list }}
{{- range $domain, $names := .Files.Get "files/controller-annotations.yaml" | fromYaml }}
{{- if not (contains "ingress" $domain) }}{{ $domains = append $domains $domain }}{{ end }}
{{- range $names }}{{ $keys = append $keys (print $domain "/" .) }}{{ end }}
{{- end }}
{{- $keys = concat $keys .Values.reservedHosts.allowedAnnotations }}
{{- $whole := list }}
{{- $begins := list }}
{{- range $keys }}
{{- if hasSuffix "*" . }}{{ $begins = append $begins (trimSuffix "*" .) }}{{ else }}{{ $whole = append $whole . }}{{ end }}
{{- end }}
{{- $judged := printf `^([^/]*ingress[^/]*|(.*\.)?(%s))/` (join "|" $domains | replace "." `\.`) }}
{{- if has "*" $domains }}{{ $judged = "" }}{{ end }}
{{- include "webshell.reservedVariable" . }}
- name: controller
  expression: request.userInfo.username == {{ include "webshell.cel" (include "webshell.controllerUser" .) }}
- name: exemptUser
  expression: request.userInfo.username in {{ include "webshell.celList" .Values.reservedHosts.exemptUsers }}
- name: annotations
  expression: object.metadata.?annotations.orValue({})
- name: before
  expression: "request.operation == 'CREATE' ? {} : oldObject.metadata.?annotations.orValue({})"
# The names that external-dns makes lead here.
- name: dns
  expression: variables.annotations[?'external-dns.alpha.kubernetes.io/hostname'].orValue('')
- name: dnsChanged
  expression: variables.dns != variables.before[?'external-dns.alpha.kubernetes.io/hostname'].orValue('')
- name: dnsNames
  expression: variables.dns.split(',').map(h, h.trim().lowerAscii())
# What every route may have, in full or as a beginning.
- name: harmless
  expression: >-
    [ {{- range $i, $key := $whole }}{{ if $i }},{{ end }}
    {{ include "webshell.cel" $key }}{{ end }}]
- name: harmlessBeginnings
  expression: >-
    [ {{- range $i, $key := $begins }}{{ if $i }},{{ end }}
    {{ include "webshell.cel" $key }}{{ end }}]
- name: given
  expression: >-
    variables.controller ? { {{- range $i, $key := keys .Values.route.annotations | sortAlpha }}{{ if $i }}, {{ end -}}
    {{ include "webshell.cel" $key }}: {{ include "webshell.cel" (get $.Values.route.annotations $key) }}{{ end -}} } : {}
- name: refused
  expression: >-
    variables.annotations.filter(k, k.matches({{ include "webshell.cel" $judged }}) &&
    (variables.routed || !(k in variables.before) || variables.before[k] != variables.annotations[k]) &&
    !(k in variables.given && variables.given[k] == variables.annotations[k]) &&
    (variables.annotations[k].trim().matches('[\\x00-\\x1f;`]') ||
    !(k in variables.harmless || variables.harmlessBeginnings.exists(b, k.startsWith(b)))))
{{- end }}

{{/* The validation of annotations; `exempt` is CEL for objects that are not judged. */}}
{{- define "webshell.annotationValidation" -}}
- expression: {{ with .exempt }}{{ . }} || {{ end }}variables.refused.size() == 0
  messageExpression: >-
    'annotation ' + variables.refused.join(', ') + {{ printf ": an ingress controller may be led by it to serve WebShell's hosts (%s) otherwise; leave it out, or ask the administrator of WebShell to list it in reservedHosts.allowedAnnotations" (include "webshell.reservedHosts" .root) | include "webshell.cel" }}
  reason: Forbidden
{{- end }}

{{/* The validation of hosts, by variables claims (the reserved ones among them) and claimed (whether anybody has just written them).
`challenges` is CEL for whether they are claimed for ACME challenges only, as exempt users may: what such a user writes is often a tenant's
wish, as cert-manager's routes are. */}}
{{- define "webshell.claimValidation" -}}
- expression: variables.controller || !variables.claimed || variables.claims.size() == 0 || (variables.exemptUser && {{ .challenges }})
  messageExpression: >-
    variables.claims.join(', ') + {{ printf " would take requests for WebShell, at %s: " (include "webshell.reservedHosts" .root) | include "webshell.cel" }} +
    (variables.exemptUser ? {{ include "webshell.cel" "users in reservedHosts.exemptUsers may name these for ACME challenges only, by an Ingress or HTTPRoute that has no other path there than /.well-known/acme-challenge/<token>, no wildcard, no certificate and no name for external-dns" }} : 'name other hosts')
  reason: Forbidden
{{- end }}

{{/* In CEL: whether path is one of an ACME challenge (RFC 8555, section 8.3), whose token is base64url and thus no expression. */}}
{{- define "webshell.isChallenge" -}}
path.matches('^/[.]well-known/acme-challenge/[A-Za-z0-9_-]+$')
{{- end }}

{{/* In CEL: the host of the gateway of the request's namespace, and what its paths begin with. */}}
{{- define "webshell.ownHost" -}}
{{- if eq .Values.route.mode "Host" }}request.namespace + {{ end }}
{{- include "webshell.gatewayHost" (dict "root" . "namespace" "") | include "webshell.cel" }}
{{- end }}

{{- define "webshell.ownPath" -}}
{{- if eq .Values.route.mode "Host" }}'/'{{ else }}'/' + request.namespace + '/'{{ end }}
{{- end }}

{{/* In CEL: whether a reference p to a parent is one to a Gateway that may serve our hosts: any that is not exempt. */}}
{{- define "webshell.servingGateway" -}}
p.?kind.orValue('Gateway') == 'Gateway'
{{- range .Values.reservedHosts.exemptGateways }} && !(
{{- with .name }}p.name == {{ include "webshell.cel" . }} && {{ end -}}
p.?namespace.orValue(request.namespace) == {{ include "webshell.cel" .namespace }})
{{- end }}
{{- end }}
